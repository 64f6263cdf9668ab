! SPDX-License-Identifier: Apache-2.0
!> A small land model: the example host of coupler_plugin.
!!
!! Usage: land_model [namelist], by default land_model.nml. Hourly steps on the land cells of the forcing file,
!! shared out over the ranks; the emulators, where there are any, are called in every step.
program land_model
   use, intrinsic :: iso_fortran_env, only: output_unit
   use budgets, only: budgets_t, totals_t
   use calendar, only: date_of, day_of_year
   use cells, only: cells_t, read_cells
   use constants, only: days_per_year, seconds_per_day, steps_per_day, wp
   use disaggregation, only: atmosphere_t, disaggregation_t, new_atmosphere
   use emulator_coupling, only: emulator_coupling_t
   use forcing, only: climate_t, forcing_t
   use lai_climatology, only: potential_lai, prescribed_lai, smoothed_temperature
   use land_state, only: land_t, new_land
   use land_step, only: step_land
   use parallel, only: parallel_t
   use result_means, only: result_means_t
   use settings, only: read_settings, settings_t
   use summary, only: print_budgets, seconds_now, timings_t, write_summary
   implicit none

   type(parallel_t) :: ranks
   type(settings_t) :: chosen
   type(cells_t) :: owned
   type(forcing_t) :: source
   type(climate_t) :: climate
   type(disaggregation_t) :: weather
   type(atmosphere_t), target :: air
   type(land_t), target :: land
   type(emulator_coupling_t) :: coupling
   type(budgets_t) :: budget
   type(result_means_t) :: means
   type(timings_t) :: timings
   real(wp), allocatable :: season_temperature(:)
   real(wp) :: clock, began
   integer :: day, hour

   call ranks%start()
   began = seconds_now()
   chosen = read_settings(namelist_path())
   owned = read_cells(chosen%forcing, ranks)
   call source%open(chosen%forcing, owned)
   climate = source%read_climate()
   call weather%read_day(source, owned, day=1)
   air = new_atmosphere(owned%count)
   call weather%give_hour(1, air)
   land = new_land(owned, climate%tas, air%tas)
   season_temperature = climate%tas
   call budget%start(land)
   call choose_results()
   timings%forcing = seconds_now() - began

   clock = seconds_now()
   call coupling%start(chosen%coupled, chosen%coupling, date_of(chosen%start_year, 1), owned, ranks, air, land)
   timings%coupling_start = seconds_now() - clock

   began = seconds_now()
   do day = 1, chosen%days
      call start_day()
      do hour = 1, steps_per_day
         call step_hour()
      end do
      if (chosen%progress_days > 0 .and. ranks%rank == 0) call show_progress()
   end do
   timings%total = seconds_now() - began

   call coupling%finish()
   call source%close()
   call report()
   call ranks%finish()

contains

   subroutine start_day()
      !! Read the weather of the day and, where no emulator gives it, set the leaf area.
      clock = seconds_now()
      call weather%read_day(source, owned, day)
      season_temperature = smoothed_temperature(season_temperature, weather%daily_mean_temperature())
      call prescribe_lai()
      timings%forcing = timings%forcing + (seconds_now() - clock)
   end subroutine start_day

   subroutine step_hour()
      !! One step: the atmosphere, the land, then the emulators, which see the hour that has just passed.
      clock = seconds_now()
      call weather%give_hour(hour, air)
      call step_land(air, owned%ice, chosen%emulated_from > 0 .and. day >= chosen%emulated_from, land)
      call budget%add(air, land)
      if (day > chosen%days - chosen%result_days) call means%add()
      timings%land = timings%land + (seconds_now() - clock)

      clock = seconds_now()
      call coupling%step(land)
      timings%coupling = timings%coupling + (seconds_now() - clock)
   end subroutine step_hour

   subroutine prescribe_lai()
      !! The leaf area of the climatology, in cells where no emulator has given one.
      where (.not. coupling%gives_lai)
         land%lai = prescribed_lai(potential_lai(climate%pr), season_temperature, owned%ice)
      end where
   end subroutine prescribe_lai

   subroutine choose_results()
      !! List what is written at the end.
      call means%include('tas', 'air_temperature', 'K', air%tas)
      call means%include('pr', 'precipitation_flux', 'kg m-2 s-1', air%pr)
      call means%include('rsds', 'surface_downwelling_shortwave_flux_in_air', 'W m-2', air%rsds)
      call means%include('rlds', 'surface_downwelling_longwave_flux_in_air', 'W m-2', air%rlds)
      call means%include('lai', 'leaf_area_index', '1', land%lai)
      call means%include('evspsbl', 'water_evapotranspiration_flux', 'kg m-2 s-1', land%evspsbl)
      call means%include('tran', 'transpiration_flux', 'kg m-2 s-1', land%transpiration)
      call means%include('mrro', 'runoff_flux', 'kg m-2 s-1', land%mrro)
      call means%include('mrso', 'mass_content_of_water_in_soil', 'kg m-2', land%mrso)
      call means%include('snw', 'surface_snow_amount', 'kg m-2', land%snw)
      call means%include('snm', 'surface_snow_melt_flux', 'kg m-2 s-1', land%snm)
      call means%include('rss', 'surface_net_downward_shortwave_flux', 'W m-2', land%rss)
      call means%include('rls', 'surface_net_downward_longwave_flux', 'W m-2', land%rls)
      call means%include('hfls', 'surface_upward_latent_heat_flux', 'W m-2', land%hfls)
      call means%include('hfss', 'surface_upward_sensible_heat_flux', 'W m-2', land%hfss)
      call means%include('hfdsl', 'surface_downward_heat_flux', 'W m-2', land%hfds)
      call means%include('ts', 'surface_temperature', 'K', land%skin_temperature)
      call means%include('gpp', 'gross_primary_productivity_of_biomass_expressed_as_carbon', 'kg m-2 s-1', land%gpp)
      call means%include('reco', 'upward flux of carbon by ecosystem respiration', 'kg m-2 s-1', land%reco)
      call means%include('nee', 'net upward flux of carbon from the ecosystem', 'kg m-2 s-1', land%nee)
      call means%include('soil_water_top', 'water of the upper soil layer at the end', 'kg m-2', land%soil_water_top, &
         final=.true.)
      call means%include('soil_water_root', 'water of the lower soil layer at the end', 'kg m-2', &
         land%soil_water_root, final=.true.)
      call means%include('snow_store', 'snow at the end', 'kg m-2', land%snw, final=.true.)
      call means%include('soil_temperature_top', 'temperature of the upper soil layer at the end', 'K', &
         land%soil_temperature_top, final=.true.)
      call means%include('soil_temperature_deep', 'temperature of the lower soil layer at the end', 'K', &
         land%soil_temperature_deep, final=.true.)
   end subroutine choose_results

   subroutine show_progress()
      !! Say how far the run is.
      real(wp) :: seconds

      if (mod(day, chosen%progress_days) /= 0 .and. day /= chosen%days) return
      seconds = seconds_now() - began
      write (output_unit, '(a, f6.1, a, f9.1, a, f8.1, a)') date_of(chosen%start_year, day), &
         100.0_wp*day/chosen%days, ' %', seconds_per_day/seconds*day/days_per_year, ' simulated years per day', seconds, ' s'
      flush (output_unit)
   end subroutine show_progress

   subroutine report()
      !! Close the budgets and write all results.
      type(totals_t) :: totals

      totals = budget%totals(land, owned, ranks)
      if (ranks%rank == 0) call print_budgets(totals)
      call means%write(chosen%output, date_of(chosen%start_year, chosen%days - chosen%result_days + 1)//' to ' &
         //date_of(chosen%start_year, chosen%days), owned, ranks)
      call write_summary(chosen, ranks, owned%total, totals, timings)
   end subroutine report

   function namelist_path() result(path)
      !! The first argument of the command line.
      character(len=:), allocatable :: path
      integer :: length

      if (command_argument_count() == 0) then
         path = 'land_model.nml'
         return
      end if
      call get_command_argument(1, length=length)
      allocate (character(len=length) :: path)
      call get_command_argument(1, path)
   end function namelist_path
end program land_model
