! SPDX-License-Identifier: Apache-2.0
!> The smallest host: three cells with a made-up climate, whose leaf area an emulator computes every day.
program host
   use, intrinsic :: iso_fortran_env, only: real64
   use coupler_plugin, only: coupler_t
   implicit none
   real(real64), parameter :: pi = acos(-1.0_real64)
   integer, parameter :: id(3) = [1, 2, 3]                                     ! global ids of this rank's cells
   real(real64), parameter :: lon(3) = [25.0, 10.0, -60.0], lat(3) = [65.0, 48.0, -3.0] ! boreal, temperate, tropical
   real(real64), parameter :: swing(3) = [14.0, 9.0, 1.0]                      ! half the range of the year [K]
   real(real64), target :: tas(3), rsds(3), vpd(3), pr(3), lai(3)
   real(real64) :: season, hour
   type(coupler_t) :: coupler
   integer :: istep

   call coupler%init('coupling.yml', start='2001-01-01', dt=3600.0_real64)
   call coupler%set_cells(id, lon, lat)
   call coupler%bind('tas', tas, units='K')                                    ! inputs, read at each step
   call coupler%bind('rsds', rsds, units='W m-2')
   call coupler%bind('vpd', vpd, units='hPa')
   call coupler%bind('pr', pr, units='mm d-1')
   call coupler%bind('lai', lai)                                               ! an output, written in place
   do istep = 1, 2*8640                                                        ! two years of 360 days
      season = -cos(2*pi*istep/8640)                                           ! -1 in January, 1 in July
      hour = max(0.0_real64, sin(2*pi*(istep/24.0_real64 - 0.25_real64)))
      tas = [275.0, 283.0, 299.0] + swing*season + 4*(hour - 0.3_real64)
      rsds = [330.0, 420.0, 560.0]*hour*(1 + [0.8, 0.5, 0.05]*season)
      vpd = max(0.5_real64, [3.0, 5.0, 8.0] + 0.3_real64*swing*season)
      pr = [1.5, 2.5, 6.0]
      call coupler%step()
      if (istep > 8640 .and. mod(istep, 720) == 0) print '(a,i3,3(a,f5.2))', 'month', (istep - 8640)/720, &
         ':  boreal', lai(1), '  temperate', lai(2), '  tropical', lai(3)
   end do
   call coupler%finalize()
end program host
