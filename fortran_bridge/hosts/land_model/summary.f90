! SPDX-License-Identifier: Apache-2.0
!> What a run did and how long it took: a table on standard output and a JSON file.
module summary
   use, intrinsic :: iso_fortran_env, only: compiler_version, int64, output_unit
   use mpi_f08, only: mpi_get_library_version, mpi_max_library_version_string
   use netcdf, only: nf90_inq_libvers
   use budgets, only: totals_t
   use constants, only: steps_per_day, wp
   use parallel, only: parallel_t, stop_all
   use settings, only: settings_t
   implicit none
   private
   public :: timings_t, seconds_now, print_budgets, write_summary

   type :: timings_t
      !! Wall-clock seconds of this rank.
      real(wp) :: total = 0.0_wp
      real(wp) :: forcing = 0.0_wp
         !! Reading and disaggregating.
      real(wp) :: land = 0.0_wp
         !! The physics.
      real(wp) :: coupling = 0.0_wp
         !! Calls of the plugin within the time loop.
      real(wp) :: coupling_start = 0.0_wp
         !! Start of the plugin: Python, emulators, binding.
   end type timings_t

contains

   real(wp) function seconds_now()
      !! Wall clock [s].
      integer(int64) :: count, rate

      call system_clock(count, rate)
      seconds_now = real(count, wp)/real(rate, wp)
   end function seconds_now

   subroutine print_budgets(totals)
      !! Print both budgets over the whole run.
      type(totals_t), intent(in) :: totals

      write (output_unit, '(/a)') 'Water budget of the run [kg m-2]'
      call line('precipitation', totals%precipitation)
      call line('evapotranspiration', totals%evapotranspiration)
      call line('runoff', totals%runoff)
      call line('storage change', totals%water_storage_change)
      call residual(totals%water_residual, totals%precipitation)
      write (output_unit, '(/a)') 'Energy budget of the run [J m-2]'
      call line('net radiation', totals%net_radiation)
      call line('sensible heat', totals%sensible_heat)
      call line('latent heat', totals%latent_heat)
      call line('heat to melt snowfall', totals%snowfall_heat)
      call line('storage change', totals%energy_storage_change)
      call residual(totals%energy_residual, totals%net_radiation)

   contains

      subroutine line(name, total)
         character(len=*), intent(in) :: name
         real(wp), intent(in) :: total

         write (output_unit, '(2x, a24, es16.8)') name, total/totals%area
      end subroutine line

      subroutine residual(total, scale)
         real(wp), intent(in) :: total, scale

         write (output_unit, '(2x, a24, es16.8, a, es9.2)') 'residual', total/totals%area, ', relative ', total/scale
      end subroutine residual
   end subroutine print_budgets

   subroutine write_summary(chosen, ranks, cells, totals, timings)
      !! Write the JSON file on rank 0; timings are means over the ranks.
      type(settings_t), intent(in) :: chosen
      type(parallel_t), intent(in) :: ranks
      integer, intent(in) :: cells
         !! Land cells of all ranks.
      type(totals_t), intent(in) :: totals
      type(timings_t), intent(in) :: timings
      type(timings_t) :: mean
      character(len=256) :: message
      integer :: unit, status

      mean%total = ranks%mean(timings%total)
      mean%forcing = ranks%mean(timings%forcing)
      mean%land = ranks%mean(timings%land)
      mean%coupling = ranks%mean(timings%coupling)
      mean%coupling_start = ranks%mean(timings%coupling_start)
      if (ranks%rank > 0) return

      open (newunit=unit, file=chosen%summary, status='replace', action='write', iostat=status, iomsg=message)
      if (status /= 0) call stop_all('the summary '//chosen%summary//' cannot be written: '//trim(message)//'.')
      write (unit, '(a)') '{'
      call whole('days', chosen%days)
      call whole('result_days', chosen%result_days)
      call whole('steps', chosen%days*steps_per_day)
      call whole('ranks', ranks%size)
      call whole('cells', cells)
      write (unit, '(3a)') '  "coupled": ', trim(merge('true ', 'false', chosen%coupled)), ','
      call text('compiler', compiler_version())
      call text('mpi', mpi_version())
      call text('netcdf', first_word(nf90_inq_libvers()))
      call number('land_area_m2', totals%area)
      call number('seconds_total', mean%total)
      call number('seconds_forcing', mean%forcing)
      call number('seconds_land', mean%land)
      call number('seconds_coupling', mean%coupling)
      call number('seconds_coupling_start', mean%coupling_start)
      call number('water_precipitation_kg', totals%precipitation)
      call number('water_evapotranspiration_kg', totals%evapotranspiration)
      call number('water_runoff_kg', totals%runoff)
      call number('water_storage_change_kg', totals%water_storage_change)
      call number('water_residual_kg', totals%water_residual)
      call number('water_residual_relative', totals%water_residual/totals%precipitation)
      call number('water_largest_cell_residual_kg_m2', totals%largest_water_residual)
      call number('energy_net_radiation_J', totals%net_radiation)
      call number('energy_sensible_heat_J', totals%sensible_heat)
      call number('energy_latent_heat_J', totals%latent_heat)
      call number('energy_snowfall_heat_J', totals%snowfall_heat)
      call number('energy_storage_change_J', totals%energy_storage_change)
      call number('energy_residual_J', totals%energy_residual)
      call number('energy_residual_relative', totals%energy_residual/totals%net_radiation)
      call number('energy_largest_cell_residual_J_m2', totals%largest_energy_residual, last=.true.)
      write (unit, '(a)') '}'
      close (unit)

   contains

      subroutine text(name, value)
         character(len=*), intent(in) :: name
         character(len=*), intent(in) :: value
            !! Without quotes or backslashes.

         write (unit, '(5a)') '  "', name, '": "', trim(value), '",'
      end subroutine text

      subroutine whole(name, value)
         character(len=*), intent(in) :: name
         integer, intent(in) :: value

         write (unit, '(3a, i0, a)') '  "', name, '": ', value, ','
      end subroutine whole

      subroutine number(name, value, last)
         character(len=*), intent(in) :: name
         real(wp), intent(in) :: value
         logical, intent(in), optional :: last

         write (unit, '(3a, es24.16e3, a)') '  "', name, '": ', value, merge(' ', ',', present(last))
      end subroutine number
   end subroutine write_summary

   function mpi_version() result(version)
      !! What the MPI library says it is, up to the first comma.
      character(len=:), allocatable :: version
      character(len=mpi_max_library_version_string) :: text
      integer :: length, comma

      call mpi_get_library_version(text, length)
      comma = scan(text(:length), ','//new_line('a')//char(0))
      version = trim(text(:merge(comma - 1, length, comma > 0)))
   end function mpi_version

   pure function first_word(text) result(word)
      !! The first of the words of a text.
      character(len=*), intent(in) :: text
      character(len=:), allocatable :: word

      word = text(:scan(text//' ', ' ') - 1)
   end function first_word
end module summary
